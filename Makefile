# `make demo` and `make test` need nothing but Python 3.10 to 3.12, make and pip on Debian or Ubuntu.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint kinetix clean distclean

# Which Python (default: 3.12, else 3.11, else 3.10) and where its environment lives (9 GB; default
# .venv, or .venv-3.12 beside a .venv of another Python). The Python decides which LeRobot and which
# ROS 2 it has: docs/development.md.
export PYTHON
ifndef VENV
VENV := $(shell . scripts/pythons.sh && PYTHON="$(PYTHON)" venv_for "$(CURDIR)")
endif
export VENV

PYTEST_ARGS ?=
DEMO_ARGS ?=
# The demo has a namespace of its own. In a domain of its own its images and its load stay away
# from a real robot's network, too.
DEMO_DOMAIN_ID ?= 87

ACTIVATE := . scripts/env.sh

help: ## say what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1|/' | \
	  awk -F'|' '{ printf "  make %-10s %s\n", $$1, $$2 }'
	@echo "Variables: PYTEST_ARGS, DEMO_ARGS, DEMO_DOMAIN_ID, PYTHON, VENV (9 GB), TEST_WORKERS"

setup: ## set up .venv, once (done by the others, too)
	@scripts/setup.sh

demo: ## the main job in simulation, three minutes; leaves a bag, a report and a film
	@scripts/setup.sh rendering
	@$(ACTIVATE) && ROS_DOMAIN_ID=$(DEMO_DOMAIN_ID) rtc_ros demo $(DEMO_ARGS)

test: setup ## all tests; PYTEST_ARGS="test/core -k mask" runs some
	@$(ACTIVATE) && scripts/test.sh $(PYTEST_ARGS)

lint: setup ## ruff and mypy
	@$(ACTIVATE) && { ruff check .; ruff=$$?; mypy && exit $$ruff; }

kinetix: ## a Python with Kinetix, for `rtc_ros bench kinetix`; the tests try it, too
	@scripts/kinetix.sh

clean: ## remove caches and build output, keep .venv
	rm -rf build install log dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name ".venv*" -prune -o -name __pycache__ -type d -exec rm -rf {} +

distclean: clean ## remove .venv as well
	@test ! -e "$(VENV)" -o -e "$(VENV)/rtc_venv" || { echo "$(VENV) was not made here"; exit 1; }
	rm -rf "$(VENV)" "$(VENV).lock"
	@test ! -e "$(VENV)-kinetix/rtc_kinetix" || rm -rf "$(VENV)-kinetix"
