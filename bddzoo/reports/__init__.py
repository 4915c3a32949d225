"""Tables and pages rendered from the registry and the records."""
