"""The 15 scenes of hw2 problem 1, in the order of the course's confusion matrix."""

ABBREVIATIONS = {
    **{"Kitchen": "Kit", "Store": "Sto", "Bedroom": "Bed", "LivingRoom": "Liv", "Office": "Off"},
    **{"Industrial": "Ind", "Suburb": "Sub", "InsideCity": "Cty", "TallBuilding": "Bld", "Street": "St"},
    **{"Highway": "HW", "OpenCountry": "OC", "Coast": "Cst", "Mountain": "Mnt", "Forest": "For"},
}
CLASSES = tuple(ABBREVIATIONS)
INDOOR = ("Kitchen", "Store", "Bedroom", "LivingRoom", "Office")  # the others are outdoors, Industrial and Suburb too
