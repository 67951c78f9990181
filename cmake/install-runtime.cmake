# Installs libseqm_rt, its header, a pkg-config file and a CMake package (find_package(Seqm), target
# Seqm::seqm_rt). A further library of the project joins by
# install(TARGETS ... EXPORT SeqmTargets); find_package then knows it too.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(seqm_cmake_dir ${CMAKE_CURRENT_LIST_DIR})
set(seqm_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/Seqm)

install(TARGETS seqm_rt EXPORT SeqmTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES ${seqm_cmake_dir}/../runtime/seqm.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

# The prefix is found from where the file lies, so that the tree may be moved.
file(RELATIVE_PATH seqm_pc_to_prefix /p/${CMAKE_INSTALL_LIBDIR}/pkgconfig /p)
configure_file(${seqm_cmake_dir}/seqm.pc.in ${CMAKE_CURRENT_BINARY_DIR}/seqm.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/seqm.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
if(NOT CMAKE_SOURCE_DIR STREQUAL CMAKE_CURRENT_SOURCE_DIR AND NOT SEQM_RUNTIME_ONLY)
  configure_file(${seqm_cmake_dir}/seqm-compiler.pc.in ${CMAKE_CURRENT_BINARY_DIR}/seqm-compiler.pc @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/seqm-compiler.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endif()

configure_package_config_file(${seqm_cmake_dir}/SeqmConfig.cmake.in
  ${CMAKE_CURRENT_BINARY_DIR}/SeqmConfig.cmake INSTALL_DESTINATION ${seqm_package_dir})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/SeqmConfigVersion.cmake
  VERSION ${PROJECT_VERSION} COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/SeqmConfig.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/SeqmConfigVersion.cmake DESTINATION ${seqm_package_dir})
install(EXPORT SeqmTargets NAMESPACE Seqm:: DESTINATION ${seqm_package_dir})
