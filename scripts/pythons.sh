# Sourced by the others: which Pythons there are, and which environment is whose.

# version_of PYTHON: its X.Y, nothing where it doesn't run.
version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

# python_of X.Y: PATH's, else the newest of pyenv's, which PATH may hide behind another version.
python_of() {
  local candidate
  while read -r candidate; do
    if [[ $(version_of "$candidate") == "$1" ]]; then
      command -v "$candidate"
      return
    fi
  done < <(
    printf '%s\n' "python$1" python3
    compgen -G "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/$1.*/bin/python" | sort -Vr
  )
  return 1
}

# venv_for ROOT: .venv, or .venv-X.Y beside one that is of another Python than PYTHON asks for.
venv_for() {
  local asked have
  have=$(version_of "$1/.venv/bin/python") || true
  asked=$([[ -z ${PYTHON:-} ]] || version_of "$PYTHON") || true
  if [[ -n $have && -n $asked && $have != "$asked" ]]; then
    printf '%s\n' "$1/.venv-$asked"
  else
    printf '%s\n' "$1/.venv"
  fi
}
