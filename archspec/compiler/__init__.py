"""From a resolved spec to an initialised torch model."""
