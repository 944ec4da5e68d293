-- What the code declares of a fixed schedule (cron, zone, args, catch_up); it is followed unless an operator has changed the row.
ALTER TABLE schedules ADD COLUMN declared jsonb;
ALTER TABLE schedules ADD COLUMN edited boolean NOT NULL DEFAULT false;
UPDATE schedules SET declared = jsonb_build_object('cron', cron, 'zone', zone, 'args', args, 'catch_up', catch_up) WHERE fixed;
ALTER TABLE schedules ADD CHECK (fixed = (declared IS NOT NULL));

-- What a tick has come to beside being sent: who fired it by hand, and the mails that it brought about.
ALTER TABLE ticks ADD COLUMN triggered_by text;
ALTER TABLE ticks ADD COLUMN finished_at timestamptz;
ALTER TABLE ticks ADD COLUMN mails integer NOT NULL DEFAULT 0;
-- Recipients who cannot be written to.
ALTER TABLE ticks ADD COLUMN skipped integer NOT NULL DEFAULT 0;
ALTER TABLE ticks ADD COLUMN note text;
-- How often it was sent again because nobody had seen it through, and when last.
ALTER TABLE ticks ADD COLUMN resent integer NOT NULL DEFAULT 0;
ALTER TABLE ticks ADD COLUMN resent_at timestamptz;
