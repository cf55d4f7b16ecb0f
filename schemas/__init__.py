"""The data's contract: records, ids, settings, profiles, the catalogue's SQL."""
