"""The samplers beside Optuna's own, at equal evaluations."""
