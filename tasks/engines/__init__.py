"""What does the thinking or painting; engines know no Prefect, no catalogue and no lake."""
