"""/v1/tools/{name}/test against a real service."""

from pathlib import Path

from runtime.prompt import Renderer
from tests.runtime.served_app import served_app
from tests.tools.serving import serving
from tests.tools.tea_shop import build_shop


def test_a_tool_is_called_over_http(tmp_path: Path, renderer: Renderer) -> None:
    shop = build_shop()
    with serving(shop) as url, served_app(tmp_path, renderer, executor=None) as server:
        server.http.post("/v1/tools/import", json={"url": f"{url}/openapi.json", "base_url": url}).raise_for_status()
        found = server.http.post("/v1/tools/find_tea/test", json={"draft": True}).json()
        kept = server.http.post("/v1/tools/order_tea/test", json={"draft": True}).json()
        written = server.http.post("/v1/tools/order_tea/test", json={"draft": True, "may_change": True}).json()
        missing = server.http.post("/v1/tools/order_tea/test")
    assert (found["object"], found["status"], found["arguments"]) == ("tool_trial", "ok", {"kind": "green"})
    assert (kept["status"], written["status"]) == ("not_called", "ok")
    assert shop.state.orders == ["tea"]
    assert missing.status_code == 404
