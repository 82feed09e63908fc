//! A package for NuGet, put together without it: a zip with a manifest.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use zip::{ZipWriter, write::SimpleFileOptions};

use super::{BROKERS, LIBRARIES, at};
use crate::tree;

/// Packs what was compiled of a project; gives the package.
pub fn write(name: &str) -> anyhow::Result<PathBuf> {
    let version = env!("CARGO_PKG_VERSION");
    let directory = at("packages");
    fs::create_dir_all(&directory)?;
    let path = directory.join(format!("{name}.{version}.nupkg"));
    let mut package = Package { zip: ZipWriter::new(File::create(&path)?) };
    package.text(&format!("{name}.nuspec"), &manifest(name, version)?)?;
    package.text("_rels/.rels", &relations(name))?;
    package.text("[Content_Types].xml", &content_types(name)?)?;
    for document in ["LICENSE", "NOTICE"] {
        package.file(document, &tree::path(document))?;
    }
    package.file("README.md", &tree::path("dotnet/README.md"))?;
    package.directory("lib", &at("lib").join(name))?;
    let natives = if name == "Ottla" { LIBRARIES } else { BROKERS };
    package.directory("runtimes", &at(natives))?;
    package.zip.finish()?;
    Ok(path)
}

/// The packages in a directory.
pub fn found(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)?.map(|entry| Ok(entry?.path()));
    let mut packages = entries.collect::<anyhow::Result<Vec<_>>>()?;
    packages.retain(|path| path.extension().is_some_and(|extension| extension == "nupkg"));
    packages.sort();
    Ok(packages)
}

struct Package {
    zip: ZipWriter<File>,
}

impl Package {
    fn text(&mut self, name: &str, text: &str) -> anyhow::Result<()> {
        self.zip.start_file(name, SimpleFileOptions::default())?;
        Ok(self.zip.write_all(text.as_bytes())?)
    }

    fn file(&mut self, name: &str, path: &Path) -> anyhow::Result<()> {
        let mut bytes = Vec::new();
        File::open(path).with_context(|| path.display().to_string())?.read_to_end(&mut bytes)?;
        self.zip.start_file(name, SimpleFileOptions::default().unix_permissions(0o755))?;
        Ok(self.zip.write_all(&bytes)?)
    }

    fn directory(&mut self, name: &str, path: &Path) -> anyhow::Result<()> {
        for entry in fs::read_dir(path).with_context(|| path.display().to_string())? {
            let path = entry?.path();
            let below = format!("{name}/{}", path.file_name().unwrap_or_default().to_string_lossy());
            if path.is_dir() {
                self.directory(&below, &path)?;
            } else {
                self.file(&below, &path)?;
            }
        }
        Ok(())
    }
}

/// As the project says it, for who reads the package.
fn manifest(name: &str, version: &str) -> anyhow::Result<String> {
    let project = fs::read_to_string(tree::path(format!("dotnet/src/{name}/{name}.csproj")))?;
    let between = |tag: &str| {
        project.split_once(&format!("<{tag}>")).and_then(|(_, rest)| rest.split_once(&format!("</{tag}>")))
    };
    let description = between("Description").context("a project has a description")?.0;
    let frameworks =
        between("TargetFrameworks").or_else(|| between("TargetFramework")).context("and a framework")?.0;
    ensure!(!frameworks.is_empty(), "{name} is for no framework");
    let groups: String = frameworks
        .split(';')
        .map(|framework| {
            let dependency = match name {
                "Ottla" => String::new(),
                _ => format!("<dependency id=\"Ottla\" version=\"{version}\" />"),
            };
            format!("      <group targetFramework=\"{framework}\">{dependency}</group>\n")
        })
        .collect();
    Ok(format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
         <package xmlns=\"http://schemas.microsoft.com/packaging/2013/05/nuspec.xsd\">\n  <metadata>\n    \
         <id>{name}</id>\n    <version>{version}</version>\n    <authors>The Ottla contributors</authors>\n    \
         <license type=\"expression\">Apache-2.0</license>\n    <readme>README.md</readme>\n    \
         <description>{description}</description>\n    <repository type=\"git\" url=\"https://github.com/ottla/ottla.git\" />\n    \
         <dependencies>\n{groups}    </dependencies>\n  </metadata>\n</package>\n"
    ))
}

fn relations(name: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
         <Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\">\n  \
         <Relationship Type=\"http://schemas.microsoft.com/packaging/2010/07/manifest\" Target=\"/{name}.nuspec\" Id=\"manifest\" />\n\
         </Relationships>\n"
    )
}

/// Of each ending; and of what has none.
fn content_types(name: &str) -> anyhow::Result<String> {
    let mut out = String::from(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
         <Types xmlns=\"http://schemas.openxmlformats.org/package/2006/content-types\">\n  \
         <Default Extension=\"rels\" ContentType=\"application/vnd.openxmlformats-package.relationships+xml\" />\n",
    );
    for ending in ["nuspec", "dll", "so", "dylib", "xml", "md", "exe"] {
        out += &format!("  <Default Extension=\"{ending}\" ContentType=\"application/octet\" />\n");
    }
    let mut without = vec!["LICENSE".to_owned(), "NOTICE".to_owned()];
    if name != "Ottla" {
        for platform in fs::read_dir(at(BROKERS))? {
            let platform = platform?.file_name();
            let platform = platform.to_string_lossy();
            if !platform.starts_with("win-") {
                without.push(format!("runtimes/{platform}/native/ottla"));
            }
        }
        without.sort();
    }
    for part in without {
        out += &format!("  <Override PartName=\"/{part}\" ContentType=\"application/octet\" />\n");
    }
    Ok(out + "</Types>\n")
}
