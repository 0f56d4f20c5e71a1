"""Studies: several runs that answer one question, in a table and a figure."""
