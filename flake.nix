# The project's images, built by Nix from the same definitions and locks.
#
# There are no inputs from elsewhere. `deploy plan` turns definition and lock into the graph that
# `deploy build` uses; each of its nodes becomes one derivation here, run by the same static
# builder. So the bytes are the same, and so is the digest of the image.
#
# Two things Nix cannot make without inputs from elsewhere:
#   the programs   `deploy` and `cairn-builder`: the store path in CAIRN_PROGRAMS (--impure)
#   the archives   Debian packages and wheels: fixed outputs by the hashes of image.lock
# `cargo xtask nix-build IMAGE` puts both into a store below target/, so that nothing is downloaded;
# `eval "$(cargo xtask nix-env)"` does so for every image, for `nix build --impure .#IMAGE` by hand.
{
  description = "Spirit Tours' images, by Cairn";

  outputs = { self }:
    let
      system = "x86_64-linux";

      # A store path with bin/deploy and bin/cairn-builder.
      programs =
        let path = builtins.getEnv "CAIRN_PROGRAMS"; in
        if path != "" then builtins.storePath path
        else throw "CAIRN_PROGRAMS names no programs: run `cargo xtask nix-build IMAGE`, which sets it, or set it and add --impure";

      # The graph, made in the sandbox by the planner itself.
      graph = image: builtins.fromJSON (builtins.readFile (derivation {
        name = "${image}-graph.json";
        inherit system;
        builder = "${programs}/bin/deploy";
        args = [ "plan" "image" image "--json" "--project" "${self}" "--output" (builtins.placeholder "out") ];
      }));

      # A locked archive. Its path depends on name and hash alone; the address matters only when
      # the archive is not in the store yet.
      fetch = node:
        let
          origin = node.source.origin;
          base = builtins.getEnv "CAIRN_MIRROR_${origin.archive or origin.kind}";
        in
        derivation {
          inherit (node) name;
          system = "builtin";
          builder = "builtin:fetchurl";
          url = "${base}/${origin.pool or node.source.file}";
          urls = [ "${base}/${origin.pool or node.source.file}" ];
          executable = false;
          unpack = false;
          preferLocalBuild = true;
          outputHashMode = "flat";
          outputHashAlgo = "sha256";
          outputHash = node.source.sha256;
        };

      # A file or folder of the project.
      add = node: builtins.path {
        inherit (node) name;
        path = self + "/${node.path}";
      };

      # A step, run by the builder.
      run = outputs: node: derivation {
        inherit (node) name;
        inherit system;
        builder = "${programs}/bin/cairn-builder";
        args = [ "run" ];
        passAsFile = [ "request" ];
        request = builtins.toJSON {
          inherit (node) step;
          inputs = builtins.mapAttrs (_: map (id: "${builtins.elemAt outputs id}")) node.inputs;
          out = builtins.placeholder "out";
        };
      };

      build = image:
        let
          plan = graph image;
          outputs = map (node: { inherit fetch add; run = run outputs; }.${node.work} node) plan.nodes;
        in
        builtins.elemAt outputs plan.target;

      images = builtins.filter
        (name: builtins.pathExists (./images + "/${name}/image.lock"))
        (builtins.attrNames (builtins.readDir ./images));
    in
    {
      packages.${system} = builtins.listToAttrs
        (map (name: { inherit name; value = build name; }) images);
    };
}
