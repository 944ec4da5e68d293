"""What mails say: versions of templates, the language that they are written in, and how they become a mail."""
