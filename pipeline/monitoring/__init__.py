"""Values computed about a night once its scores are published. Figures and tables for people belong to `reports/`."""
