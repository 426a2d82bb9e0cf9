"""Two profiles: the same examples at every run, and for `make fuzz` others at each, many more. No deadline on a busy machine."""

import os

from hypothesis import HealthCheck, settings

NOT_JUDGED = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]

settings.register_profile("guardian", derandomize=True, deadline=None, print_blob=True, suppress_health_check=NOT_JUDGED)
settings.register_profile("fuzz", max_examples=500, deadline=None, print_blob=True, suppress_health_check=NOT_JUDGED)
settings.load_profile(os.environ.get("GUARDIAN_HYPOTHESIS_PROFILE", "guardian"))
