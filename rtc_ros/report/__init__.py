"""From a recording to its figures, pictures and pages."""
