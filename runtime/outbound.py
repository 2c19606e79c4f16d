"""What the tools of one server may call, from its settings."""

from runtime.settings import Settings
from tools.destinations import AllowList
from tools.transport import Outbound


def open_outbound(settings: Settings) -> Outbound:
    return Outbound(AllowList.parse(settings.allowed_networks), ports=settings.outbound_ports)
