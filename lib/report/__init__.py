"""From predictions to numbers with their uncertainty, tables, figures and pages."""
