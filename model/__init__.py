"""Networks of experts, their losses, priors, metrics and calibration."""
