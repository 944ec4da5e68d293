-- The language in which a user gets mails, as BCP 47 has it; null is English.

ALTER TABLE users ADD COLUMN locale text;
