"""What the carrier protocols share.

Text: `coding` (alphabets, the cheapest one, its price), `text` (CMPP's numbers, splitting), `gsm7`,
`udh` (user data headers), `joining`, `receipts`. Octets: `fields` (what PDUs are made of), `tlv`,
`digests`. Connections: `link`, `events`, `terms`. Codes: `results`.
"""
