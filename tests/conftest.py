"""What all tests share."""

from hypothesis import HealthCheck, settings

# A busy machine draws slowly: how fast inputs come is no property of what is tested.
settings.register_profile("busy", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("busy")
