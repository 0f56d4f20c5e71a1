"""Studies: several runs that answer one question, with a table and figures."""
