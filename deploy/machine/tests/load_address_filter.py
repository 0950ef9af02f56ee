# Loads the smallest program of the type behind IPAddressDeny= (see bpf(2)) and prints how that went.
import ctypes
import os
import struct

BPF_PROG_LOAD = 5
BPF_PROG_TYPE_CGROUP_SKB = 8
BPF_CGROUP_INET_INGRESS = 0

number = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
libc = ctypes.CDLL(None, use_errno=True)
# r0 = 1; exit
instructions = ctypes.create_string_buffer(bytes.fromhex("b700000001000000 9500000000000000"))
license_name = ctypes.create_string_buffer(b"GPL")
attributes = ctypes.create_string_buffer(128)
pointers = (ctypes.addressof(instructions), ctypes.addressof(license_name))
struct.pack_into("IIQQ", attributes, 0, BPF_PROG_TYPE_CGROUP_SKB, 2, *pointers)
struct.pack_into("I", attributes, 0x44, BPF_CGROUP_INET_INGRESS)
loaded = libc.syscall(number, BPF_PROG_LOAD, attributes, len(attributes))
print("loaded" if loaded >= 0 else os.strerror(ctypes.get_errno()))
