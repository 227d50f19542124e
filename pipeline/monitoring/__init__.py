"""Values computed about a night: the size of its delivery, and a summary once its scores are published. Figures and
tables for people belong to `reports/`."""
