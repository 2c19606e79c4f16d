"""Where settings come from, and what keeps a server from starting."""

import base64
import traceback
from pathlib import Path

import pytest

from runtime.errors import BadSettings
from runtime.outbound import open_outbound
from runtime.settings import Settings, check_startable, is_loopback, load_settings
from tools.errors import DestinationRefused


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("HONE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_arguments_win_over_variables_and_variables_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hone.toml").write_text('port = 1001\nmax_steps = 2\nlog_level = "error"\n')
    monkeypatch.setenv("HONE_PORT", "1002")
    monkeypatch.setenv("HONE_MAX_STEPS", "3")
    settings = load_settings(port=1003)
    assert (settings.port, settings.max_steps, settings.log_level) == (1003, 3, "error")


def test_lists_come_with_commas_or_as_toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hone.toml").write_text('allowed_hosts = ["a.example", "b.example"]\n')
    monkeypatch.setenv("HONE_VLLM_URLS", "http://one:8000, http://two:8000")
    settings = load_settings()
    assert settings.vllm_urls == ("http://one:8000", "http://two:8000")
    assert settings.allowed_hosts == ("a.example", "b.example")


def test_an_unknown_setting_is_named(tmp_path: Path) -> None:
    (tmp_path / "hone.toml").write_text("prot = 1\n")
    with pytest.raises(BadSettings, match="prot: no such setting"):
        load_settings()


def test_a_wrong_value_is_named_with_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_PORT", "many")
    with pytest.raises(BadSettings, match=r"port='many'.*HONE_PORT"):
        load_settings()


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "hone.toml").write_text("port = = 1\n")
    with pytest.raises(BadSettings, match=r"hone\.toml"):
        load_settings()


def test_the_database_lies_in_home_unless_said_otherwise(tmp_path: Path) -> None:
    assert Settings(home=tmp_path / "h").database == f"sqlite:///{tmp_path / 'h' / 'hone.db'}"
    assert Settings(database_url="postgresql://db/hone").database == "postgresql://db/hone"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_loopback_needs_no_keys(host: str, tiny_model: Path) -> None:
    assert is_loopback(host)
    check_startable(Settings(host=host, model=str(tiny_model)))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "hone.example", ""])
def test_any_other_address_needs_keys(host: str, tiny_model: Path) -> None:
    settings = Settings(host=host, model=str(tiny_model))
    with pytest.raises(BadSettings, match="no keys exist"):
        check_startable(settings)
    check_startable(settings, has_keys=True)


def test_a_model_path_that_is_not_there_is_an_error_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="does not exist"):
        check_startable(Settings(model=str(tmp_path / "nowhere")))
    with pytest.raises(BadSettings, match=r"holds no config\.json"):
        check_startable(Settings(model=str(tmp_path)))


async def test_tools_may_call_nothing_of_this_machine_unless_they_are_allowed_to() -> None:
    with pytest.raises(DestinationRefused, match="loopback"):
        await open_outbound(Settings()).check("http://127.0.0.1:9/")
    await open_outbound(Settings(allowed_networks=("127.0.0.1:9",))).check("http://127.0.0.1:9/")


async def test_networks_and_ports_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_ALLOWED_NETWORKS", "intranet.example:8443, 10.1.0.0/16")
    monkeypatch.setenv("HONE_OUTBOUND_PORTS", "80,443")
    settings = load_settings()
    assert settings.allowed_networks == ("intranet.example:8443", "10.1.0.0/16")
    outbound = open_outbound(settings)
    await outbound.check("http://10.1.2.3:9/")
    await outbound.check("https://93.184.215.14/")
    with pytest.raises(DestinationRefused, match="port 8080 is not open"):
        await outbound.check("http://93.184.215.14:8080/")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("allowed_networks", "10.0.0.1/8", "'10.0.0.1/8'.*write a host, an address or a network"),
        ("allowed_networks", "*.example", "write a host"),
        ("outbound_ports", "0", "0 is no port"),
        ("outbound_ports", "http", "valid integer"),
    ],
)
def test_a_network_or_port_that_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(f"HONE_{name.upper()}", value)
    with pytest.raises(BadSettings, match=f"{name}.*{told}.*HONE_{name.upper()}"):
        load_settings()


@pytest.mark.parametrize("given", ["canary", "canary" * 8, base64.b64encode(b"canary").decode()])
def test_a_master_key_that_is_none_is_named_and_repeated_nowhere(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("HONE_MASTER_KEY", given)
    with pytest.raises(BadSettings, match="HONE_MASTER_KEY: entry 1 is no key") as caught:
        load_settings()
    assert given not in "".join(traceback.format_exception(caught.value))


def test_a_master_key_of_the_wrong_type_is_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "hone.toml").write_text('master_key = ["canary"]\n')
    with pytest.raises(BadSettings, match="master_key") as caught:
        load_settings()
    assert "canary" not in "".join(traceback.format_exception(caught.value))


def test_settings_that_are_printed_show_no_master_key(monkeypatch: pytest.MonkeyPatch) -> None:
    key = base64.b64encode(bytes(range(32))).decode()
    monkeypatch.setenv("HONE_MASTER_KEY", key)
    settings = load_settings()
    assert settings.master_key is not None
    assert key not in f"{settings!r} {settings.model_dump_json()}"
