"""What is known of a customer at an instant: contract tables, feature groups, labels. No torch, no Dagster here."""
