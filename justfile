# Short names for what the project's own commands do. Nothing here does more than ./check or cargo.

# The recipes.
default:
    @just --list

# A whole fleet on this machine, with nothing to configure.
demo *ARGS:
    cargo run --release -- demo {{ARGS}}

# Every check, or the named steps: `just check clippy nextest`.
check *STEPS:
    ./check {{STEPS}}

# Formatting, clippy and the tests.
fast:
    ./check fast

# Format everything.
fmt:
    cargo fmt --all

# The tests whose name holds NAME.
test NAME='':
    cargo build --workspace --all-targets
    cargo nextest run --workspace {{NAME}}

# Faults for as long as you like, such as `just harness 10m` or `just harness 1000kills`.
harness FOR='10m':
    cargo build --workspace --bins
    NIXFLEET_HARNESS_FOR={{FOR}} cargo nextest run --test harness --no-capture

# The binaries as they are shipped.
build:
    cargo build --release --workspace --bins

# The documentation of the code, opened in a browser.
doc:
    cargo doc --workspace --no-deps --document-private-items --open

# The page's script and stylesheet, made of src/web/script and src/web/style.
page:
    cd tests/browser && npm run page

# The pictures of the documentation; `just pictures all` takes every page, theme and width into tests/browser/artefacts.
pictures WHAT='':
    NIXFLEET_PREVIEW="$PWD/target/preview" cargo test -p nixfleet --lib web::pages::preview
    cd tests/browser && node pictures.mjs ../../target/preview {{WHAT}}

# The order of the daemon's functions, made anew: benches/order/daemon.ld. After larger changes, and a new compiler.
order:
    benches/order/make

# Lighthouse over the demo's pages, as a phone and as a desktop. Fails below 95. Installs itself; a quiet machine, please.
lighthouse:
    cargo build --release --workspace --bins
    cd tests/lighthouse && npm ci --no-audit --no-fund --ignore-scripts && node run.mjs
