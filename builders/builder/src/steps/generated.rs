//! `generated`: the tree of files that no package holds but every image needs.
//!
//! It reads the trees of the packages, because the caches are caches of what is in them. What a
//! tree brings itself is left alone, except for the files that only the builder can get right.

use std::fs;
use std::path::Path;

use cairn_formats::{Platform, RelPath};
use cairn_recipe::step::Generated;

use super::CONTROL;
use crate::deb::package;
use crate::error::{Error, Problem, Result};
use crate::generated::accounts::Accounts;
use crate::generated::libraries::{self, Libraries};
use crate::generated::{certificates, mount_points};
use crate::inputs::Inputs;
use crate::layout;
use crate::tree::{Attributes, Kind, TreeWriter, Union};

pub fn run(step: &Generated, inputs: &Inputs, out: &Path) -> Result<()> {
    let union = Union::read(inputs.all("trees"))?;
    let mut base = Base { union: &union, tree: TreeWriter::create(out)? };
    base.merged_usr()?;
    base.mount_points()?;
    base.volumes(step)?;
    let accounts = Accounts::new(&step.users)?;
    base.must_write("etc/passwd", accounts.passwd.as_bytes())?;
    base.must_write("etc/group", accounts.group.as_bytes())?;
    base.name_service()?;
    base.time_zone()?;
    base.certificates()?;
    base.declared_links(step)?;
    base.package_list()?;
    base.loader_cache(step.platform.unwrap_or(Platform::native()))?;
    base.tree.finish()
}

struct Base<'a> {
    union: &'a Union,
    tree: TreeWriter,
}

impl Base<'_> {
    /// `/bin` and `/sbin` and `/lib` always, the others where a package needs them.
    fn merged_usr(&mut self) -> Result<()> {
        for name in layout::MERGED {
            let always = matches!(name, "bin" | "lib" | "sbin");
            let target = format!("usr/{name}");
            if always || self.union.get(&path(&target)?).is_some() {
                self.link(name, &target)?;
                self.directory(&target, Attributes::DIRECTORY)?;
            }
        }
        Ok(())
    }

    fn mount_points(&mut self) -> Result<()> {
        for point in mount_points::DIRECTORIES {
            let (attributes, known) = (point.attributes, self.union.get(&path(point.path)?));
            match known {
                // base-files may have its own view of the mode; two views would be a conflict.
                Some(found) if found.kind == Kind::Directory => {
                    self.directory(point.path, found.exception.unwrap_or(attributes))?;
                }
                // A link to where the directory is: whoever made it knows.
                Some(_) => {}
                None => self.directory(point.path, attributes)?,
            }
        }
        for (file, content) in mount_points::FILES {
            self.write_if_absent(file, content.as_bytes())?;
        }
        Ok(())
    }

    fn volumes(&mut self, step: &Generated) -> Result<()> {
        for (volume, (uid, gid)) in &step.volumes {
            let at = layout::absolute(volume)
                .ok_or_else(|| Error::parameter("volumes", volume, "it must be an absolute path without `..`"))?;
            let attributes = Attributes { mode: 0o750, uid: *uid, gid: *gid };
            self.take(&at.to_string(), |tree, at| tree.directory(at, attributes))?;
        }
        Ok(())
    }

    /// libc-bin's script copies its default where there is none.
    fn name_service(&mut self) -> Result<()> {
        match self.content("usr/share/libc-bin/nsswitch.conf")? {
            Some(default) => self.write_if_absent("etc/nsswitch.conf", &default),
            None => Ok(()),
        }
    }

    /// UTC; without tzdata that is what the C library assumes anyway.
    fn time_zone(&mut self) -> Result<()> {
        if self.union.resolve(&path("usr/share/zoneinfo/Etc/UTC")?).is_some() {
            self.link_if_absent("etc/localtime", "/usr/share/zoneinfo/Etc/UTC")?;
            self.write_if_absent("etc/timezone", b"Etc/UTC\n")?;
        }
        Ok(())
    }

    fn certificates(&mut self) -> Result<()> {
        if let Some(bundle) = certificates::bundle(self.union)? {
            self.must_write(certificates::BUNDLE, &bundle)?;
            self.link_if_absent(certificates::OPENSSL_FILE, &format!("/{}", certificates::BUNDLE))?;
        }
        Ok(())
    }

    /// The links of the definition, which stand for Debian's alternatives.
    fn declared_links(&mut self, step: &Generated) -> Result<()> {
        for (link, target) in &step.links {
            let at = layout::absolute(link)
                .ok_or_else(|| Error::parameter("links", link, "it must be an absolute path without `..`"))?;
            self.refuse_brought(&at)?;
            self.take(&at.to_string(), |tree, at| tree.symlink(at, target.as_bytes(), Attributes::LINK))?;
        }
        Ok(())
    }

    /// Scanners look here for the packages of an image that has no dpkg.
    fn package_list(&mut self) -> Result<()> {
        for output in self.union.outputs() {
            let file = output.join(CONTROL);
            let stanza = match fs::read(&file) {
                Ok(stanza) => stanza,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::io("read", &file)(error)),
            };
            let name = package(&stanza).ok_or_else(|| {
                Error::archive(&file.display().to_string(), "names no package in its field `Package`")
            })?;
            let at = format!("var/lib/dpkg/status.d/{name}");
            self.take(&at, |tree, at| tree.bytes(at, Attributes::FILE, &stanza))?;
        }
        Ok(())
    }

    fn loader_cache(&mut self, platform: Platform) -> Result<()> {
        let libraries = Libraries::find(self.union, platform)?;
        for (link, target) in &libraries.links {
            self.take(&link.to_string(), |tree, at| tree.symlink(at, target, Attributes::LINK))?;
        }
        match libraries.cache(platform) {
            Some(cache) => self.must_write(libraries::CACHE, &cache),
            None => Ok(()),
        }
    }

    fn content(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some((end, found)) = self.union.resolve(&path(name)?) else { return Ok(None) };
        let physical = self.union.physical(&end, found);
        fs::read(&physical).map(Some).map_err(Error::io("read", &physical))
    }

    fn must_write(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.refuse_brought(&path(name)?)?;
        self.take(name, |tree, at| tree.bytes(at, Attributes::FILE, content))
    }

    fn write_if_absent(&mut self, name: &str, content: &[u8]) -> Result<()> {
        if self.union.get(&path(name)?).is_some() {
            return Ok(());
        }
        self.take(name, |tree, at| tree.bytes(at, Attributes::FILE, content))
    }

    fn link_if_absent(&mut self, name: &str, target: &str) -> Result<()> {
        if self.union.get(&path(name)?).is_some() { Ok(()) } else { self.link(name, target) }
    }

    fn link(&mut self, name: &str, target: &str) -> Result<()> {
        self.take(name, |tree, at| tree.symlink(at, target.as_bytes(), Attributes::LINK))
    }

    fn directory(&mut self, name: &str, attributes: Attributes) -> Result<()> {
        self.take(name, |tree, at| tree.directory(at, attributes))
    }

    fn refuse_brought(&self, at: &RelPath) -> Result<()> {
        match self.union.get(at) {
            Some(found) => Err(Error::Brought { path: at.clone(), owner: self.union.owner(found).to_owned() }),
            None => Ok(()),
        }
    }

    fn take(&mut self, name: &str, put: impl FnOnce(&mut TreeWriter, &RelPath) -> Result<(), Problem>) -> Result<()> {
        put(&mut self.tree, &path(name)?).map_err(|problem| Error::member("the generated files", name, problem))
    }
}

fn path(name: &str) -> Result<RelPath> {
    RelPath::parse(name.as_bytes()).map_err(|_| Error::member("the generated files", name, Problem::Escapes))
}
