"""The search document: a base model, what may vary, budgets, objective and trials."""
