"""The kubelet's two protocols: `*.proto` are written here, `*_pb2*` are generated from them by `make proto`."""
