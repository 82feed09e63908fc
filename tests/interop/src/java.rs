//! Java programs: jars by Maven, our own few sources by `javac`, both once and by what they are made of.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, bail};

use crate::{Missing, made_once, path};

/// A class path, and what is needed to run a class of it.
#[derive(Clone, Debug)]
pub struct ClassPath {
    entries: Vec<PathBuf>,
}

impl ClassPath {
    /// The jars that `tests/interop/<project>/pom.xml` names, with what they depend on.
    ///
    /// # Errors
    ///
    /// [`Missing`] if Maven is, or if it cannot fetch them.
    pub fn of_project(project: &str) -> anyhow::Result<Self> {
        Self::of_project_with(project, &[])
    }

    /// As [`ClassPath::of_project`], with other values for the project's properties, as `("kafka.version", "3.9.1")`.
    ///
    /// # Errors
    ///
    /// [`Missing`] if Maven is, or if it cannot fetch the jars.
    pub fn of_project_with(project: &str, properties: &[(&str, &str)]) -> anyhow::Result<Self> {
        let pom = path("tests/interop").join(project).join("pom.xml");
        let text = fs::read(&pom).with_context(|| pom.display().to_string())?;
        // A project in a folder is named by both; what is made of it lies flat.
        let name = format!("{}-{:016x}", project.replace('/', "-"), hash(&(&text, properties)));
        let jars = made_once(&name, |directory| {
            let mut maven = Command::new("mvn");
            maven.args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime"]);
            maven.args(properties.iter().map(|(key, value)| format!("-D{key}={value}")));
            maven.arg("-f").arg(&pom).arg(format!("-DoutputDirectory={}", directory.display()));
            run(&mut maven).map_err(|error| Missing(format!("the jars of {project}: {error:#}")).into())
        })?;
        Ok(Self { entries: vec![jars.join("*")] })
    }

    /// This class path, and before it the classes of `tests/interop/java/<source>`.
    ///
    /// # Errors
    ///
    /// [`Missing`] if there is no JDK.
    pub fn with_compiled(&self, source: &str) -> anyhow::Result<Self> {
        self.with_all_compiled(source.trim_end_matches(".java"), &[source])
    }

    /// As [`ClassPath::with_compiled`], of several sources that know each other. What is made is called `name`.
    ///
    /// # Errors
    ///
    /// [`Missing`] if there is no JDK.
    pub fn with_all_compiled(&self, name: &str, sources: &[&str]) -> anyhow::Result<Self> {
        let files: Vec<PathBuf> =
            sources.iter().map(|source| path("tests/interop/java").join(source)).collect();
        let read = |file: &PathBuf| fs::read(file).with_context(|| file.display().to_string());
        let texts = files.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let name = format!("{name}-{:016x}", hash(&(&texts, &self.entries)));
        let classes = made_once(&name, |directory| {
            let mut javac = Command::new("javac");
            javac.args(["-encoding", "UTF-8", "-proc:none", "-nowarn", "-cp"]).arg(self.joined()?);
            run(javac.arg("-d").arg(directory).args(&files))
        })?;
        let mut entries = self.entries.clone();
        entries.insert(0, classes);
        Ok(Self { entries })
    }

    /// `java`, set to run `class`: its arguments may follow.
    ///
    /// # Errors
    ///
    /// If a path of ours could not stand in a class path.
    pub fn command(&self, java_options: &[&str], class: &str) -> anyhow::Result<Command> {
        let mut java = Command::new("java");
        java.args(java_options).arg("-cp").arg(self.joined()?).arg(class);
        Ok(java)
    }

    fn joined(&self) -> anyhow::Result<std::ffi::OsString> {
        std::env::join_paths(&self.entries).context("a path holds the separator of paths")
    }
}

/// Runs a tool to its end.
fn run(command: &mut Command) -> anyhow::Result<()> {
    let name = Path::new(command.get_program()).display().to_string();
    let Output { status, stdout, stderr } = match command.output() {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!(Missing(format!("`{name}` is not installed")))
        }
        Err(error) => return Err(error).context(name),
    };
    if !status.success() {
        let said = [stdout, stderr].concat();
        bail!("{name} failed, {status}: {}", String::from_utf8_lossy(&said).trim());
    }
    Ok(())
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
