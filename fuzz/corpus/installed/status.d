Package: libc6
Status: install ok installed
Version: 2.36-9+deb12u10
Description: x
 Version: not this
