"""A source rendered: SQL rules, pandera schema, templates, pages, French messages. Nothing here reads a delivery."""
