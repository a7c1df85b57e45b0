"""PlateauBench: how often is a diagnosis right, on training runs labelled by an oracle that is not the detector?"""
