"""What becomes of predictions: numbers with their uncertainty, tables, figures and pages."""
