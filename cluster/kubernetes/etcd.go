package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func init() { programs["etcd"] = etcd }

func etcd() int {
	etcdmain.Main(os.Args)
	return 0
}
