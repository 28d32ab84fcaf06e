# The versions of the libraries. Each program is linked to one version of what it uses, by its store path.
{
  libexpr = "1.2";
  libnumber = "1.0";
  libtally = "1.0";
  libtext = "2.1";
}
