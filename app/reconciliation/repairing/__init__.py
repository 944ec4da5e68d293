"""The one path from a suspect to a repaired record: judge, plan, write, record."""
