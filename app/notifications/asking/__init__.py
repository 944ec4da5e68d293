"""How mail comes to be asked for, and what is decided about it afterwards."""
