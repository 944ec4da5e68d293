"""To whom, and to whom not: recipients, blocked addresses, links to unsubscribe."""
