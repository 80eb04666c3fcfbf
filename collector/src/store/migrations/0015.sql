-- What can be announced against a verdict of routing, as JSON; null where announcing helps nothing, and for verdicts of before.
ALTER TABLE routing_verdict ADD COLUMN remedy TEXT;
