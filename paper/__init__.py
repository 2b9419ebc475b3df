"""What the committed runs say of each prediction and of each published claim: `python -m paper results`.

`claims` is what is asked of the campaign, `public_data` what is asked of data that are not part of the project,
`numbers` collects both, `pages` and `figures` show them; `generated` holds what they made. Not in the wheel.
"""
