"""What the tools of one server may call, from its settings."""

from runtime.settings import Settings, is_loopback
from tools.destinations import LOOPBACK, AllowList
from tools.transport import Outbound


def open_outbound(settings: Settings, *, has_keys: bool = False) -> Outbound:
    """
    Args:
        has_keys: callers are told apart, so some are not the operator, and this machine is no longer theirs to call.
    """
    return Outbound(allow_list(settings, has_keys=has_keys), ports=settings.outbound_ports)


def allow_list(settings: Settings, *, has_keys: bool) -> AllowList:
    if settings.allowed_networks is not None:
        return AllowList.parse(settings.allowed_networks)
    return LOOPBACK if is_loopback(settings.host) and not has_keys else AllowList()
