"""Samplers that propose only designs that fit and are new, usable in any Optuna study."""
