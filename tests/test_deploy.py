import importlib
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest
import yaml

from survey_classifier.membership.redshift import SPEED_OF_LIGHT_KM_S, dynamic_member, z_class
from survey_classifier.model.checkpoint import read_card
from survey_classifier.model.shipped import resolve_checkpoint
from survey_classifier.run.config import read_run
from survey_classifier.sources.published import read_definition

REPOSITORY = Path(__file__).parents[1]
DEPLOY = REPOSITORY / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
TEXTS = {
    name: (DEPLOY / name).read_text(encoding="utf-8")
    for name in ("compose.yaml", "slurm.sbatch", "Dockerfile", "README.md")
}
PRELOAD = "survey_classifier.run.monitor"


def test_every_run_file_can_be_read(monkeypatch):
    monkeypatch.setenv("SURVEY_CLASSIFIER_DATA", "/data")
    run_files = sorted((DEPLOY / "runs").glob("*.toml"))
    assert run_files
    for path in run_files:
        config = read_run(path)
        assert config.name == path.stem
        # Compose mounts this folder, and nothing else that is written to.
        assert config.out_folder.is_relative_to(REPOSITORY / "out")
        assert config.path(config.mosaic.store).is_relative_to(REPOSITORY / "out")
        assert config.path(config.sources.path).is_relative_to("/data")


def test_another_cluster_is_configuration_alone(monkeypatch):
    """Coma, Abell 1656: 3 x 1000 km/s about z = 0.0231."""
    monkeypatch.setenv("SURVEY_CLASSIFIER_DATA", "/data")
    config = read_run(DEPLOY / "runs" / "coma.toml")
    cuts = config.membership.redshift_cuts()
    assert (cuts.z_cluster, cuts.sigma_km_s) == (0.0231, 1000.0)
    half_width = 3 * 1000.0 * (1 + 0.0231) / SPEED_OF_LIGHT_KM_S
    z = 0.0231 + half_width * np.array([-1.01, -0.99, 0.99, 1.01])
    assert dynamic_member(z, cuts).tolist() == [0, 1, 1, 0]
    assert z_class(z[:3], cuts).tolist() == ["cluster"] * 3
    assert config.mosaic.center_deg == (194.95, 27.98)
    card = read_card(resolve_checkpoint(config.checkpoint, config.folder))
    assert {entry.band for entry in config.mosaic.inputs} >= set(card.bands)
    # The tables have the columns that fetch-catalog writes.
    served = {column.name for column in read_definition("sdss-spectra").served.values()}
    assert {*config.sources.columns.names, *config.redshifts[0].columns.names} <= served
    assert config.membership.center_deg == config.mosaic.center_deg
    assert config.mosaic.scale_arcsec <= card.scale_arcsec


def test_every_port_is_open_to_this_machine_only():
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_workers_may_score():
    assert "--resources=SCORER=1" in COMPOSE["services"]["worker"]["command"]
    assert '--resources "SCORER=1"' in TEXTS["slurm.sbatch"]


@pytest.mark.parametrize("name", ["compose.yaml", "slurm.sbatch", "README.md"])
def test_the_scheduler_gets_a_page_that_exists(name):
    assert set(re.findall(r"--preload[= ](\S+?)(?=[\s\"`])", TEXTS[name])) == {PRELOAD}
    assert callable(importlib.import_module(PRELOAD).dask_setup)


def test_services_share_one_image_and_the_same_paths():
    services = list(COMPOSE["services"].values())
    for key in ("image", "user", "volumes", "environment"):
        assert all(service[key] == services[0][key] for service in services)
    for volume in services[0]["volumes"]:
        source = volume.rpartition(":/")[0]
        if source.startswith("."):
            assert (DEPLOY / source).resolve().is_relative_to(REPOSITORY)


def test_image_copies_what_there_is_and_runs_without_privileges():
    copied = [
        word
        for line in re.findall(r"^COPY (.*)$", TEXTS["Dockerfile"], re.M)
        for word in shlex.split(line)[:-1]
    ]
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    for name in copied:
        assert (REPOSITORY / name).exists()
        assert f"!{name}" in ignore
    assert re.findall(r"^USER (.*)$", TEXTS["Dockerfile"], re.M)[-1] == "survey"


def test_image_has_a_python_that_the_package_takes():
    (minor,) = re.findall(r"^FROM python:3\.(\d+)-slim$", TEXTS["Dockerfile"], re.M)
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"Programming Language :: Python :: 3.{minor}" in project["classifiers"]


def test_job_script_is_sound_shell():
    bash = shutil.which("bash")
    assert bash
    subprocess.run([bash, "-n", DEPLOY / "slurm.sbatch"], check=True)
