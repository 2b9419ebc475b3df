"""What the committed runs say of each prediction and of each published claim: `python -m verigap.findings`.

`estimates` holds the statistics, `questions` what is asked of the campaign, `shared` what is asked of data that are
not part of the project, `page` the README, `figures` the pictures.
"""
