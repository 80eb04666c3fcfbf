//! One .deb from a list of files: staged, described, packed by `dpkg-deb`.
//!
//! `packaging/deb/NAME/` holds the control file and the maintainer scripts. What lies under `etc/` is a conffile; what ends in
//! `.gz` is compressed. Same commit, same bytes: owners are root, dates the commit's, modes do not depend on the umask.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::arm64;
use super::release::Release;
use crate::step::captured;
use crate::tree;

/// A Debian package of one program.
pub(super) struct Package {
    /// Its name, and that of its program.
    pub(super) name: &'static str,
    /// Whether the program says itself what shells complete it by; else it is among the files.
    pub(super) completes: bool,
    /// From the checkout, to the file system.
    pub(super) files: &'static [(&'static str, &'static str)],
}

impl Package {
    /// Packs the program in `bin` into `folder` and says where the package is.
    pub(super) fn build(&self, release: &Release, bin: &Path, folder: &Path) -> Result<PathBuf> {
        let stage = tree::target().join("xtask/deb").join(self.name);
        if stage.exists() {
            fs::remove_dir_all(&stage)
                .with_context(|| format!("cannot empty {}", stage.display()))?;
        }
        let program = bin.join(self.name);
        put_file(&program, &stage.join("usr/bin").join(self.name))?;
        for (from, to) in self.files {
            put_file(&tree::root().join(from), &stage.join(to))?;
        }
        if self.completes {
            self.put_completions(release, &program, &stage)?;
        }
        let doc = stage.join("usr/share/doc").join(self.name);
        put_file(
            &tree::root().join("packaging/deb/copyright"),
            &doc.join("copyright"),
        )?;
        put(&self.changelog(release), &doc.join("changelog.gz"))?;
        let overrides = self.folder().join("lintian-overrides");
        if overrides.is_file() {
            put_file(
                &overrides,
                &stage.join("usr/share/lintian/overrides").join(self.name),
            )?;
        }
        self.describe(release, &program, &stage)?;
        let deb = folder.join(format!(
            "{}_{}_{}.deb",
            self.name, release.version, release.architecture
        ));
        captured(
            Command::new("dpkg-deb")
                .arg("--root-owner-group")
                .args(release.compression)
                .arg("--build")
                .args([&stage, &deb])
                .env("SOURCE_DATE_EPOCH", &release.epoch),
        )?;
        Ok(deb)
    }

    fn put_completions(&self, release: &Release, program: &Path, stage: &Path) -> Result<()> {
        let name = self.name;
        for (shell, file) in [
            ("bash", format!("bash-completion/completions/{name}")),
            ("fish", format!("fish/vendor_completions.d/{name}.fish")),
            ("zsh", format!("zsh/vendor-completions/_{name}")),
        ] {
            let mut program = if release.is_foreign() {
                arm64::emulated(program)
            } else {
                Command::new(program)
            };
            let text = captured(program.args(["completions", shell]))?;
            put(
                format!("{text}\n").as_bytes(),
                &stage.join("usr/share").join(file),
            )?;
        }
        Ok(())
    }

    fn folder(&self) -> PathBuf {
        tree::root().join("packaging/deb").join(self.name)
    }

    fn changelog(&self, release: &Release) -> Vec<u8> {
        format!(
            "{} ({}) unstable; urgency=medium\n\n  * Built from commit {}.\n\n -- {}  {}\n",
            self.name, release.version, release.commit, release.maintainer, release.date
        )
        .into_bytes()
    }

    /// Writes `DEBIAN/`: control, conffiles, sums and the maintainer scripts.
    fn describe(&self, release: &Release, program: &Path, stage: &Path) -> Result<()> {
        let files = files_under(stage)?;
        let mut bytes = 0;
        let mut sums = String::new();
        let mut conffiles = String::new();
        for file in &files {
            bytes += fs::metadata(stage.join(file))
                .with_context(|| format!("cannot look at {file}"))?
                .len();
            let sum = captured(Command::new("md5sum").arg(file).current_dir(stage))?;
            writeln!(sums, "{sum}").context("cannot note a checksum")?;
            if file.starts_with("etc/") {
                writeln!(conffiles, "/{file}").context("cannot note a conffile")?;
            }
        }
        let control = read(&self.folder().join("control"))?
            .replace("@VERSION@", &release.version)
            .replace("@ARCHITECTURE@", &release.architecture)
            .replace("@MAINTAINER@", &release.maintainer)
            .replace("@INSTALLED_SIZE@", &bytes.div_ceil(1024).to_string())
            .replace("@DEPENDS@", &self.libraries(release, program)?);
        ensure!(
            !control.contains('@') || control.matches('@').count() == 1,
            "the control file of {} has a place that nobody fills",
            self.name
        );
        let debian = stage.join("DEBIAN");
        put(control.as_bytes(), &debian.join("control"))?;
        put(conffiles.as_bytes(), &debian.join("conffiles"))?;
        put(sums.as_bytes(), &debian.join("md5sums"))?;
        for script in ["config", "templates", "postinst", "prerm", "postrm"] {
            let from = self.folder().join(script);
            if from.is_file() {
                put_file(&from, &debian.join(script))?;
            }
        }
        Ok(())
    }

    /// The packages of the libraries that the program is linked with, in the versions that it needs.
    fn libraries(&self, release: &Release, program: &Path) -> Result<String> {
        if release.is_foreign() {
            return arm64::libraries(program);
        }
        let source = tree::target().join("xtask/deb/source");
        let stub = format!(
            "Source: firstmile\n\nPackage: {}\nArchitecture: any\n",
            self.name
        );
        put(stub.as_bytes(), &source.join("debian/control"))?;
        let answer = captured(
            Command::new("dpkg-shlibdeps")
                .arg("-O")
                .arg(
                    fs::canonicalize(program)
                        .with_context(|| format!("there is no {}", program.display()))?,
                )
                .current_dir(&source),
        )?;
        answer
            .lines()
            .find_map(|line| line.strip_prefix("shlibs:Depends="))
            .map(str::to_owned)
            .with_context(|| {
                format!(
                    "dpkg-shlibdeps names no libraries of {}: {answer}",
                    self.name
                )
            })
    }
}

fn put_file(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    put(&bytes, to)
}

/// Writes one file with the mode that its place asks for, compressed if its name says so.
fn put(bytes: &[u8], to: &Path) -> Result<()> {
    let folder = to.parent().unwrap_or(to);
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for above in folder
        .ancestors()
        .take_while(|above| above.starts_with(tree::target().join("xtask/deb")))
    {
        allow(above, 0o755)?;
    }
    let compressed = to.extension().is_some_and(|extension| extension == "gz");
    let plain = if compressed {
        to.with_extension("")
    } else {
        to.to_path_buf()
    };
    fs::write(&plain, bytes).with_context(|| format!("cannot write {}", plain.display()))?;
    if compressed {
        captured(Command::new("gzip").args(["-9", "--no-name"]).arg(&plain))?;
    }
    let name = to.file_name().unwrap_or_default();
    let runs = folder.ends_with("usr/bin")
        || (folder.ends_with("DEBIAN")
            && ["config", "postinst", "prerm", "postrm"]
                .iter()
                .any(|script| name == *script));
    allow(to, if runs { 0o755 } else { 0o644 })
}

fn allow(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// All files under `folder`, relative to it, sorted.
fn files_under(folder: &Path) -> Result<Vec<String>> {
    let list = captured(
        Command::new("find")
            .args([".", "-type", "f", "-printf", "%P\\n"])
            .current_dir(folder),
    )?;
    let mut files: Vec<String> = list.lines().map(str::to_owned).collect();
    files.sort();
    Ok(files)
}
