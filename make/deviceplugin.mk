WIRE := deviceplugin/wire

.PHONY: proto proto-check

proto: $(SETUP) ## Generate the node agent's messages from its .proto files
	$(PYTHON) -m grpc_tools.protoc -I. --python_out=. --pyi_out=. $(WIRE)/*.proto

proto-check: $(SETUP) ## Check that the node agent's generated messages are current
	@set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	$(PYTHON) -m grpc_tools.protoc -I. --python_out="$$folder" --pyi_out="$$folder" $(WIRE)/*.proto; \
	for file in "$$folder"/$(WIRE)/*; do \
	  cmp -s "$$file" "$(WIRE)/$${file##*/}" || { echo "$(WIRE)/$${file##*/} is not what its .proto file gives: run 'make proto'"; exit 1; }; \
	done
