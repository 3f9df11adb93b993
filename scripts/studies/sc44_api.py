"""The study sc44_singles.toml through the Python API. Usage: sc44_api.py SINGLES.root"""

import sys

import psimg

phantom = psimg.Cylinder(name="phantom", centre_mm=(0, 0, 0), radius_mm=100, half_length_mm=150)
inserts = [
    psimg.Cylinder(name=f"insert_{i}", centre_mm=(x, y, 0), radius_mm=20, half_length_mm=40)
    for i, (x, y) in enumerate([(50, 0), (0, 50), (-50, 0), (0, -50)])
]
options = psimg.SelectOptions(min_pair_distance_mm=300)
edges_ns = psimg.SpectrumOptions().edges_ns

spectra, carry = None, None
file = psimg.open_input(sys.argv[1])
for chunk, last in psimg.with_last(file.chunks()):
    found = psimg.find_triplets(chunk.value, options=options, carry=carry, last=last)
    carry = found.carry
    triplets = psimg.cut_triplets(found.triplets, options=options).triplets
    events = psimg.locate_triplets(triplets)
    events = events.take(phantom.contains(events.position_mm))
    part = psimg.bin_regions(events, regions=[phantom, *inserts], edges_ns=edges_ns)
    spectra = part if spectra is None else spectra + part

calibration = psimg.calibrate_response(spectra, model=psimg.LifetimeModel())
response = calibration.value("mu_ns"), calibration.value("sigma_ns")
model = psimg.LifetimeModel().with_response(*response)
for fit in psimg.fit_regions(spectra, model=model):
    print(f"{fit.name}: {fit.tau_ops_ns:.3f} +- {fit.tau_ops_error_ns:.3f} ns")
