"""Attention types: what each declares, checks and costs, torch-free."""
