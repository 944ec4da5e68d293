-- What a tick has come to beside being sent: who fired it by hand, and the mails that it brought about.
ALTER TABLE ticks ADD COLUMN triggered_by text;
ALTER TABLE ticks ADD COLUMN finished_at timestamptz;
ALTER TABLE ticks ADD COLUMN mails integer NOT NULL DEFAULT 0;
-- Recipients who cannot be written to.
ALTER TABLE ticks ADD COLUMN skipped integer NOT NULL DEFAULT 0;
ALTER TABLE ticks ADD COLUMN note text;
